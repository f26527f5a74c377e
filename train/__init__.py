"""Training: conversations become an adapter, a merged model, held-out figures and a chat.

Importing this package or `train.settings` loads neither torch nor transformers.
"""
