"""The autoencoder of the official DCASE 2023 Task 2 baseline, with its two scores."""
