"""Words that blame our side in other languages than English (`blame.py`): those of Europe's and Asia's large providers.

A refusal that also speaks of the recipient or the mailbox is not about us, so these words do not count then. What
is in none of these languages is still noticed if it repeats (`circuit_breaker.py`).
"""

from __future__ import annotations

from delivery.lazy_pattern import LazyPattern


def _pattern(*alternatives: str) -> LazyPattern:
    return LazyPattern("|".join(alternatives))


_THEIRS = _pattern(
    "empfänger|empfaenger|postfach",
    "destinataires?|bo[iî]te",
    r"destinatari[oa]s?|destinatário|buz[oó]n|casella|caixa",
    "ontvanger|postvak|odbiorc|skrzynk|mottagare|modtager",
    "получател|адресат|ящик",
    "收件|收信|对方|對方|邮箱|郵箱|信箱|用户|用戶",
    "受信者|宛先|メールボックス|수신자|받는",
)
_SENDING_LIMIT = _pattern(
    r"\b(?:sende|versand)\w*(?:limit|kontingent|quota|grenze)|\blimit\w*[^.;:]*\b(?:versand|gesendet)",
    r"\b(?:quota|limites?|plafond|nombre)\b[^.;:]*\b(?:envois?|envoy[eé])|\benvois?\b[^.;:]*\b(?:quota|limite|plafond)",
    r"\b(?:l[ií]mite|cuota|cota)s?\b[^.;:]*\b(?:env[ií]o|invi)|\b(?:env[ií]o|invio)s?\b[^.;:]*\b(?:l[ií]mite|cuota|cota)",
    r"\b(?:verzend|verstuur)\w*limiet|\blimit\w*[^.;:]*\b(?:wysy[łl]|wys[łl]an)",
    r"лимит\w*[^.;:]*(?:отправ|исходящ)|(?:отправ|исходящ)\w*[^.;:]*лимит",
    "(?:发送|发信|发件|外发|發送|發信|發件)[^。;:]*(?:超|限|过多|过快|頻|频)|(?:超|限)[^。;:]*(?:发送|发信|外发|發送|發信)",
    "送信[^。;:]*(?:上限|制限|超)|발송[^.;:]*(?:한도|제한|초과)",
)
_BLOCKED = _pattern(
    r"\b(?:ihre?|das|dieses|sendende[rs]?)\b[^.;:]*\b(?:konto|ip|ip-adresse|domain|server)\b[^.;:]*"
    r"\b(?:gesperrt|blockiert|deaktiviert|sperrliste)",
    r"\b(?:votre|vos|ce)\b[^.;:]*\b(?:compte|ip|domaine|serveur)\b[^.;:]*"
    r"(?:bloqu|suspend|d[eé]sactiv|refus|liste noire)",
    r"\b(?:su|tu|sua)\b[^.;:]*\b(?:cuenta|conta|ip|dominio|domínio|servidor)\b[^.;:]*"
    r"\b(?:suspend|suspens|bloque|deshabilit|lista negra)",
    r"\b(?:tuo|suo|vostro)\b[^.;:]*\b(?:account|ip|dominio|server)\b[^.;:]*\b(?:sospes|bloccat|disabilitat)",
    r"\b(?:uw|je|twoje|państwa)\b[^.;:]*\b(?:account|konto|ip|domein|domena)\b[^.;:]*"
    r"\b(?:geblokkeerd|opgeschort|zablok|zawiesz)",
    r"ваш\w*[^.;:]*(?:аккаунт|уч[её]тн\w+ запис\w+|\bip\b|домен|сервер)[^.;:]*(?:заблок|приостан|ограничен|отключ)",
    "(?:账|帐|帳)(?:号|户|號|戶)[^。;:]*(?:冻结|凍結|封|锁|鎖|停用|禁用|限制)|黑名单|黑名單",
    "アカウント[^。;:]*(?:停止|凍結|ロック|制限)|계정[^.;:]*(?:정지|차단|잠)",
)
_SENDER = _pattern(
    r"\babsender\w*[^.;:]*\b(?:nicht|abgelehnt|gesperrt|ungültig|unbekannt)",
    r"\bexp[eé]diteur\b[^.;:]*\b(?:refus|non|invalide|bloqu|interdit|inconnu)",
    r"\b(?:remitente|remetente|mittente)\b[^.;:]*\b(?:rechaz|rejeit|rifiut|no\b|n[aã]o\b|non\b|inv[aá]lid|bloque|bloccat)",
    r"\bafzender\b[^.;:]*\b(?:geweigerd|niet|geblokkeerd)|\bnadawc\w*[^.;:]*\b(?:odrzuc|nie\b|zablok)",
    r"отправител\w*[^.;:]*(?:отклон|\bне\b|заблок|запрещ)",
    "(?:发件|发信|發件|發信)[^。;:]*(?:未|不|拒|封|错)|差出人[^。;:]*(?:拒否|無効|許可)",
)
_LOGIN_OR_RELAY = _pattern(
    r"\brelay\w*[^.;:]{0,20}\b(?:nicht|verboten|interdit|refus|no permitido|non consentito|niet)",
    r"\b(?:authentifizierung|authentification|autenticaci[oó]n|autenticaç[aã]o|autenticazione|authenticatie)\b"
    r"|nicht (?:angemeldet|authentifiziert)",
    "аутентификац|авторизац|认证|認証|인증|中继|中繼",
)


def blames_session(words: str) -> bool:
    """Return whether these words, in lower case, blame our account, our domain, our login or our server."""
    if words.isascii() and not _MAYBE_FOREIGN.search(words):
        return False
    patterns = (_SENDING_LIMIT, _BLOCKED, _SENDER, _LOGIN_OR_RELAY)
    return not _THEIRS.search(words) and any(pattern.search(words) for pattern in patterns)


# Words without accents that occur in the patterns above. They spare English refusals the rest.
_MAYBE_FOREIGN = _pattern(
    r"\b(?:ihre?|konto|absender\w*|nicht|versand\w*|sende\w*limit|votre|envois?|expediteur|authentification"
    r"|su|tu|sua|cuenta|limite|envio|remitente|remetente|mittente|invio|autentica\w+|tuo|suo|uw|afzender|verzend\w*"
    r"|nadawc\w*|wys\w+|relais)\b"
)
