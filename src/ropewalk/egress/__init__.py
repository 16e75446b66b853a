"""The door out: every request of a twist is judged (`urls`, `patterns`, `addresses`, `guard`) and sent (`hops`, `connections`, `lines`, `speaking`, `bodies`, `fetch`) here."""
