"""Where a store is: its URL taken apart, and with the password in none of what people see.

URLs are libpq's (section 34.1.1.2 of PostgreSQL's manual), and may name a `schema`.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode

from attrs import field, frozen

from reflow.errors import StoreError

SCHEME = "postgresql"
DEFAULT_SCHEMA = "reflow"
_URL = re.compile(
    r"(?:postgresql|postgres)://(?:(?P<user>[^/?#@]*)@)?(?P<rest>[^?#]*)(?:\?(?P<query>[^#]*))?"
)


@frozen(kw_only=True)
class Address:
    """A place of a store; `repr` and `url` are without the password."""

    url: str
    schema: str
    connection: str = field(repr=False)
    """What libpq connects by, without a password."""
    password: str | None = field(default=None, repr=False)

    def described(self) -> str:
        """Return the URL as errors show it."""
        return f"store {self.url}"

    def without_password(self, text: str) -> str:
        """Return a text in which the password, if it is there, is not."""
        for form in {self.password or "", quote(self.password or "", safe="")}:
            if form:
                text = text.replace(form, "***")
        return text


def address_of(url: str) -> Address:
    """Take a URL apart. Raises `StoreError` for one of another kind."""
    match = _URL.fullmatch(url)
    if match is None:
        scheme = url.partition("://")[0] if "://" in url else ""
        kind = f"a URL of the scheme {scheme!r}" if scheme else "this"
        raise StoreError(
            f"cannot open {kind} as a PostgreSQL store: write"
            " postgresql://user@host:5432/database?schema=reflow"
        )
    user, _, password = (match["user"] or "").partition(":")
    options = parse_qsl(match["query"] or "", keep_blank_values=True)
    values = dict(options)
    if "sslpassword" in values:
        raise StoreError(
            "a PostgreSQL store's URL must not have sslpassword: it would be seen; see"
            " PostgreSQL's manual for service files (PGSERVICEFILE)"
        )
    schema = values.get("schema", DEFAULT_SCHEMA)
    if not schema or "\0" in schema:
        raise StoreError(
            "the schema in a PostgreSQL store's URL is empty: leave it out, or name one"
        )
    place = f"{SCHEME}://{user}@{match['rest']}" if user else f"{SCHEME}://{match['rest']}"
    libpq = [(key, value) for key, value in options if key not in ("password", "schema")]
    shown = [*libpq, ("schema", schema)] if schema != DEFAULT_SCHEMA else libpq
    return Address(
        url=_with(place, shown),
        schema=schema,
        connection=_with(place, libpq),
        password=values.get("password", unquote(password) or None),
    )


def _with(place: str, options: list[tuple[str, str]]) -> str:
    text = f"{place}?{urlencode(options, quote_via=quote)}" if options else place
    # Records and command lines are ASCII.
    return quote(text, safe="%:/?#[]@!$&'()*+,;=-._~")
