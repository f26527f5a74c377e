"""From pairs to conversations: ChatML, splits, disclosure and export formats."""
