"""Chats and mail: what people wrote to each other, by whom, and when."""
