"""Who may do what: API keys with scopes, one-time login links, browser sessions, OpenID tokens.

Keys and tokens of ours are 256 random bits, so a plain SHA-256 of them is kept: nobody can try
them all, and the slow, salted hash that a password needs would only slow down every request.
"""

from service.access.keys import (
    KEY_PREFIX,
    MAX_KEY_NAME,
    NewKey,
    authenticate,
    ensure_admin_key,
    list_keys,
    make_key,
    note_use,
    revoke_key,
    rotate_key,
)
from service.access.logins import (
    authenticate_session,
    end_session,
    ensure_secret,
    make_login_token,
    redeem_login_token,
)
from service.access.principals import EVERYTHING, Limits, Principal, Scope

__all__ = [
    "EVERYTHING",
    "KEY_PREFIX",
    "MAX_KEY_NAME",
    "Limits",
    "NewKey",
    "Principal",
    "Scope",
    "authenticate",
    "authenticate_session",
    "end_session",
    "ensure_admin_key",
    "ensure_secret",
    "list_keys",
    "make_key",
    "make_login_token",
    "note_use",
    "redeem_login_token",
    "revoke_key",
    "rotate_key",
]
