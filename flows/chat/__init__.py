"""Talk to the persona: the session, the models that answer, the terminal, what is saved."""
