"""In what a tenant may differ from another: what is seen on some, and what nobody documents."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """How the sample tenant behaves; by default, as a tenant without surprises.

    Attributes:
        page_size: How many rows a page has, if the request does not say.
        page_cap: The most rows that an answer may have, which then looks complete: it has no
            nextLink. Consultants report this of some tenants. Answers to delta links go on.
        pagesize_lifts_cap: Whether `page_cap` is for requests without ``pagesize`` alone, which is
            a guess at why others see nextLinks.
        facts_per_key: How many facts FactData has of each key, whose sums are the figures that
            FactDataAggregation has. Consultants report dozens.
        counts: Whether ``$count`` is answered.
        sums_have_keys: Whether ``$metadata`` gives FactDataAggregation a key. SAP documents that it
            does not, because not all columns have to be selected; older notes have it.
        differences_need_subscribers: Whether FactDataDifference is refused without the header
            ``Prefer`` and without a ``deltaid``, as documented. What is answered is a guess.
        lists_distinct_values: Whether models, too, answer ``<column>___Distinct``. SAP documents it
            for currency tables alone.
        client_has_access: Whether the client may use the Data Export Service.
        ignores_skip: Whether ``$skip`` is ignored, as some other options are.
        older_subscriptions: Whether subscriptions are listed as in SAP's older samples: with the
            text null for what is missing, and no EndTime before they are read. If not, with JSON
            null, a Timezone, and one that a read has opened as a window of length zero.
        is_api_host: Whether it is like SAP's direct API host, which gives no CSRF token and needs
            none for writing.
        links_to_other_host: Whether links lead to the other address of the tenant, with ``.api`` or
            without it. Which one SAC writes is not documented.
        extra_namespaces: Whether the namespaces beside that of the models are served. If not, they
            are listed all the same, and what is in them is not found, as on some tenants.
        dotted_master_data: Whether columns of MasterData are called ``Account.ID``, as on SAP's
            pages, and not ``Account___ID``, as on live tenants.
        audit_needs_client: Whether audit data is for the OAuth client itself, as SAP's older pages
            have it, and is refused to a person with 403.
        redirect_uri: The only one at which a sign-in may end.
        rotates_refresh_tokens: Whether each refresh token is good for one use, which gives the
            next one.
        readable_tokens: Whether the client's own tokens are JWTs, too, like those of people.
        token_seconds: How long an access token is good.
        refresh_token_seconds: How long a refresh token is good; 0 for not at all.
        missing_grant: The grant that the client does not have: ``client_credentials``, or
            ``authorization_code`` for sign-ins.
        expired_is_forbidden: Whether an expired token is refused with 403, and not with 401:
            SAP's own scripts treat both alike.
    """

    page_size: int = 1000
    page_cap: int | None = None
    pagesize_lifts_cap: bool = False
    facts_per_key: int = 1
    counts: bool = True
    sums_have_keys: bool = False
    differences_need_subscribers: bool = True
    lists_distinct_values: bool = False
    client_has_access: bool = True
    ignores_skip: bool = False
    older_subscriptions: bool = False
    is_api_host: bool = False
    links_to_other_host: bool = False
    extra_namespaces: bool = True
    dotted_master_data: bool = False
    audit_needs_client: bool = False
    redirect_uri: str = "http://127.0.0.1:8484/callback"
    rotates_refresh_tokens: bool = False
    readable_tokens: bool = False
    token_seconds: int = 3600
    refresh_token_seconds: int = 720 * 3600
    missing_grant: str | None = None
    expired_is_forbidden: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            ValueError: If a number is below 1.
        """
        for name in ("page_size", "page_cap", "facts_per_key", "token_seconds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} must be at least 1"
                raise ValueError(msg)
