"""The recipe: all settings of a workspace in one TOML file."""
