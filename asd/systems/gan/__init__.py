"""GAN and BiGAN detection: "Efficient GAN-Based Anomaly Detection" on log-mel frame vectors.

Zenati et al., arXiv 1802.06222; the GAN is its AnoGAN-style baseline. Numbers called "published"
in this folder are those of the authors' KDD experiments.
"""
