"""Readers of trained models: each gives a SOURCE graph."""
