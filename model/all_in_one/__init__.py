"""All-in-One (arXiv 2203.07303): one transformer that reads text, video, or both."""
