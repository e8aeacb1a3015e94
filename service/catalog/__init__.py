"""The SQL database: tables, statements, sessions."""
