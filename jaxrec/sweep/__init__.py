"""Searches: a space to try, studies that survive whoever is killed, and what can be read from them."""
