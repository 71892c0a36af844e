"""The subcommands of ``shallowda``, one module each, and what they share."""
