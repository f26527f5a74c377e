"""The ground floor: the nouns, the errors, the store, curation, ChatML and export."""
