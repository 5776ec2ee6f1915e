"""The differences between tenants: seen on some of them, or not documented."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviour:
    """How the sample tenant behaves; by default, without surprises.

    Attributes:
        page_size: The rows per page, if the request does not set them.
        page_cap: The maximum number of rows in a response, which then has no nextLink, so it looks
            complete. Consultants report this of some tenants. Delta links are not affected.
        pagesize_lifts_cap: Whether `page_cap` applies only without ``pagesize``; a guess why others
            see nextLinks.
        facts_per_key: The number of facts per key in FactData; FactDataAggregation has their sums.
            Consultants report dozens.
        counts: Whether ``$count`` is supported.
        sums_have_keys: Whether ``$metadata`` declares a key of FactDataAggregation. SAP documents
            that it does not, because its columns can be selected; older notes have one.
        differences_need_subscribers: Whether FactDataDifference is refused without the header
            ``Prefer`` and without a ``deltaid``, as documented. The response is a guess.
        lists_distinct_values: Whether models serve ``<column>___Distinct``, too. SAP documents it
            only for currency tables.
        client_has_access: Whether the client may use the Data Export Service.
        ignores_skip: Whether ``$skip`` is ignored, like some other options.
        older_subscriptions: Whether subscriptions are listed as in SAP's older samples: with the
            text null for missing values, and without EndTime before they are read. Otherwise, with
            JSON null, a Timezone, and a window of length zero for a new one.
        is_api_host: Whether it behaves like SAP's direct API host, which neither issues nor needs
            CSRF tokens.
        links_to_other_host: Whether links lead to the tenant's other address, with or without
            ``.api``. It is not documented which one SAC uses.
        extra_namespaces: Whether the namespaces other than that of the models are served. If not,
            they are listed, but their contents are not found, as on some tenants.
        dotted_master_data: Whether columns of MasterData are named ``Account.ID``, as on SAP's
            pages, instead of ``Account___ID``, as on live tenants.
        audit_needs_client: Whether audit data is only for the OAuth client itself, as on SAP's
            older pages, and refused to users with 403.
        redirect_uri: The only registered redirect URI.
        rotates_refresh_tokens: Whether each use of a refresh token returns a new one and
            invalidates it.
        readable_tokens: Whether the client's own tokens are JWTs, like those of users.
        token_seconds: The lifetime of access tokens.
        refresh_token_seconds: The lifetime of refresh tokens; 0 for none.
        missing_grant: The grant that the client lacks: ``client_credentials``, or
            ``authorization_code`` for sign-ins.
        expired_is_forbidden: Whether expired tokens are refused with 403 instead of 401: SAP's own
            scripts treat both alike.
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
        """Refuse meaningless numbers.

        Raises:
            ValueError: If a number is below 1.
        """
        for name in ("page_size", "page_cap", "facts_per_key", "token_seconds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} must be at least 1"
                raise ValueError(msg)
