"""Where everything durable lives: one interface of domain verbs (`interface`), a folder for each backend."""
