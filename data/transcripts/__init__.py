"""Turns of a talk: who speaks, what is cut out, what is question and what is answer."""
