"""From a claim to its settlement: `dispatcher` claims, `attempt` invokes, `settling` settles."""
