"""Posteriors to a catalogue, once, on any machine."""
