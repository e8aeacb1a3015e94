"""Models with an image and a text tower (CLIP, SigLIP and their kin) as retrievers of video."""
