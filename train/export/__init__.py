"""Hand a model to other programs: llama.cpp, Ollama, PEFT users and the hub."""
