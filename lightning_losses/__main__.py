"""`python -m lightning_losses` is the command `lightning-losses`."""

from lightning_losses.app.cli import main

if __name__ == "__main__":
    main()
