"""The networks, the footage and the training: plain torch, no web, no database, no queue."""
