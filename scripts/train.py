"""Trains one model, a grid of them, or searches for the best. `python scripts/train.py --help` shows how."""

from jaxrec.config import train

if __name__ == "__main__":
    train()
