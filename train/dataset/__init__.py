"""From conversations to optimizer steps: tokens, labels, checked rows, packs and their order."""
