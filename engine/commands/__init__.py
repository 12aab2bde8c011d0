"""The commands of `engine`, one file a step."""
