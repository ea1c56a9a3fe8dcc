"""What real servers say when they refuse: as seen in their documentation, bug reports and logs.

The recipient in all of them is `ada@example.com`, the sender `news@example.org`, our address 192.0.2.1.
"""

from __future__ import annotations

# (step, reply): refusals of our account, domain, server, or of how we speak.
BLAMING_US = [
    # Gmail and Google Workspace
    (
        "DATA",
        "550-5.4.5 Daily user sending limit exceeded. For more information on Gmail\r\n550-5.4.5 sending limits"
        " go to\r\n550 5.4.5  https://support.google.com/a/answer/166852 af79cd13be357-7a3 - gsmtp",
    ),
    ("DATA", "550 5.4.5 Daily user sending quota exceeded. d75a77b69052e-4ab - gsmtp"),
    ("DATA", "550 5.4.5 Daily SMTP relay sending limit exceeded for user. a1 - gsmtp"),
    ("DATA", "550 5.4.5 Daily SMTP relay limit exceeded for customer. a1 - gsmtp"),
    (
        "RCPT",
        "550-5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've\r\n550-5.7.1 registered in your"
        " G Suite SMTP Relay service does not match the domain of the\r\n550 5.7.1 account this email is being"
        " sent from.",
    ),
    (
        "CONTENT",
        "550-5.7.26 This mail has been blocked because the sender is unauthenticated.\r\n550-5.7.26 Gmail"
        " requires all senders to authenticate with either SPF or DKIM.\r\n550 5.7.26 ffacd0b85a97d - gsmtp",
    ),
    (
        "CONTENT",
        "550-5.7.26 Unauthenticated email from example.org is not accepted due to\r\n550 5.7.26 domain's DMARC"
        " policy. Please contact the administrator of example.org",
    ),
    (
        "CONTENT",
        "550-5.7.1 [192.0.2.1] The IP you're using to send mail is not authorized to\r\n550-5.7.1 send email"
        " directly to our servers. Please use the SMTP relay at your\r\n550 5.7.1 service provider instead. x - gsmtp",
    ),
    (
        "CONTENT",
        "550-5.7.1 [192.0.2.1] Our system has detected an unusual rate of\r\n550-5.7.1 unsolicited mail"
        " originating from your IP address. To protect our users\r\n550-5.7.1 from spam, mail sent from your IP"
        " address has"
        " been blocked. Please visit\r\n550 5.7.1 https://support.google.com/mail/?p=UnsolicitedRateLimitError"
        " x - gsmtp",
    ),
    (
        "CONTENT",
        "550-5.7.1 [192.0.2.1] Our system has detected that this message is\r\n550-5.7.1 likely suspicious due to"
        " the very low reputation of the sending IP address.\r\n550 5.7.1 To best protect our users x - gsmtp",
    ),
    (
        "CONTENT",
        "550-5.7.25 [192.0.2.1] The IP address sending this message does not have a\r\n550-5.7.25 PTR record"
        " setup, or the corresponding forward DNS entry does not\r\n550 5.7.25 point to the sending IP. x - gsmtp",
    ),
    # Microsoft 365 and Outlook.com
    ("RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
    ("RCPT", "550 5.7.64 TenantAttribution; Relay Access Denied [VI1EUR04FT012.eop-eur04.prod.protection.outlook.com]"),
    (
        "RCPT",
        "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP. For more information"
        " please go to http://go.microsoft.com/fwlink/?LinkId=526653 AS(7230)",
    ),
    ("CONTENT", "550 5.7.705 Access denied, tenant has exceeded threshold"),
    ("CONTENT", "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains"),
    (
        "CONTENT",
        "550 5.1.8 Access denied, bad outbound sender. For more information please go to"
        " http://go.microsoft.com/fwlink/?LinkId=875724. S(9333) [AM0PR04.prod.outlook.com]",
    ),
    ("CONTENT", "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients"),
    (
        "RCPT",
        "550 5.7.501 Access denied, spam abuse detected. The sending account has been banned due to detected spam",
    ),
    (
        "RCPT",
        "550 5.7.511 Access denied, banned sender[192.0.2.1]. To request removal from this list please forward"
        " this message to delist@messaging.microsoft.com",
    ),
    (
        "RCPT",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit"
        " https://sender.office.com/",
    ),
    (
        "RCPT",
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service"
        " provider since part of their network is on our block list (S3150).",
    ),
    (
        "RCPT",
        "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. To request removal from this"
        " list see https://www.spamhaus.org/query/ip/192.0.2.1",
    ),
    (
        "CONTENT",
        "550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification and has a DMARC"
        " policy of reject.",
    ),
    (
        "CONTENT",
        "550 5.7.515 Access denied, sending domain example.org doesn't meet the required authentication level.",
    ),
    ("CONTENT", "550 5.7.23 The message was rejected because of Sender Policy Framework violation"),
    ("MAIL", "530 5.7.57 Client not authenticated to send mail. [AM6P194CA0023.EURP194.PROD.OUTLOOK.COM]"),
    ("CONTENT", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    (
        "CONTENT",
        "554 5.2.252 SendAsDenied; api@example.org not allowed to send as news@example.org; STOREDRV.Submission."
        "Exception:SendAsDeniedException.MapiExceptionSendAsDenied",
    ),
    (
        "CONTENT",
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due"
        " to a permanent exception with message The message can't be submitted because the sender's submission"
        " quota was"
        " exceeded.",
    ),
    ("CONTENT", "554 5.2.0 submission quota exceeded"),
    # Yahoo
    (
        "MAIL",
        "553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed. See"
        " https://postmaster.yahooinc.com/error-codes",
    ),
    (
        "RCPT",
        "553 Mail from 192.0.2.1 not allowed - 5.7.1 [BL21] Connections not accepted from IP addresses on Spamhaus"
        " PBL; see https://postmaster.yahooinc.com/error-codes [550]",
    ),
    (
        "CONTENT",
        "550 5.7.9 This mail has been blocked because the sender is unauthenticated. Yahoo requires all senders"
        " to authenticate with either SPF or DKIM.",
    ),
    # Amazon SES
    (
        "CONTENT",
        "554 Message rejected: Email address is not verified. The following identities failed the check in"
        " region EU-WEST-1: news@example.org",
    ),
    (
        "CONTENT",
        "554 Message rejected: Sending suspended for this account. For more information, please check the inbox"
        " of the email address associated with your AWS account.",
    ),
    ("CONTENT", "554 Message rejected: Sending paused for this account."),
    ("CONTENT", "454 Throttling failure: Daily message quota exceeded."),
    (
        "CONTENT",
        "554 Access denied: User `arn:aws:iam::123456789012:user/mail' is not authorized to perform"
        " `ses:SendRawEmail' on resource `arn:aws:ses:eu-west-1:123456789012:identity/example.org'",
    ),
    # SendGrid
    (
        "CONTENT",
        "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is"
        " resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the"
        " requirements",
    ),
    ("MAIL", "550 Unauthenticated senders not allowed"),
    ("RCPT", "550 Cannot receive from specified address <news@example.org>: Unauthenticated senders not allowed"),
    ("DATA", "451 Authentication failed: Maximum credits exceeded"),
    ("CONTENT", "451 You have exceeded your messaging limits"),
    ("RCPT", "452 Too many recipients received this hour"),
    # Mailgun
    ("RCPT", "550 5.7.1 Relaying denied"),
    (
        "CONTENT",
        "550 Domain mg.example.org is not allowed to send: The domain is unverified and requires DNS"
        " configuration. Log in to your control panel to view required DNS records.",
    ),
    (
        "CONTENT",
        "550 Domain sandbox123.mailgun.org is not allowed to send: Sandbox subdomains are for test purposes"
        " only. Please add your own domain or add the address to authorized recipients in Account Settings.",
    ),
    ("CONTENT", "421 Domain mg.example.org is not allowed to send: recipient limit exceeded. Please contact support"),
    (
        "CONTENT",
        "550 5.7.0 Free accounts are for test purposes only. Please upgrade or add the address to authorized"
        " recipients in Account Settings.",
    ),
    # Postmark
    (
        "CONTENT",
        "550 5.7.1 The 'From' address you supplied (news@example.org) is not a Sender Signature on your account.",
    ),
    ("CONTENT", "554 5.7.1 Your account is pending approval, so you can only send to your own domain for now."),
    ("CONTENT", "550 Not allowed to send. Your account has run out of credits."),
    # Postfix
    ("RCPT", "554 5.7.1 <ada@example.com>: Relay access denied"),
    ("RCPT", "454 4.7.1 <ada@example.com>: Relay access denied"),
    ("RCPT", "553 5.7.1 <news@example.org>: Sender address rejected: not owned by user api@example.org"),
    ("RCPT", "553 5.7.1 <news@example.org>: Sender address rejected: not logged in"),
    ("RCPT", "550 5.1.8 <news@example.org>: Sender address rejected: Domain not found"),
    ("RCPT", "450 4.1.8 <news@example.org>: Sender address rejected: Domain not found"),
    ("RCPT", "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied"),
    ("RCPT", "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]"),
    (
        "RCPT",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org;"
        " https://www.spamhaus.org/query/ip/192.0.2.1",
    ),
    ("RCPT", "504 5.5.2 <my_host>: Helo command rejected: need fully-qualified hostname"),
    ("MAIL", "530 5.7.0 Must issue a STARTTLS command first"),
    (
        "RCPT",
        "550 5.7.23 <ada@example.com>: Recipient address rejected: Message rejected due to: SPF fail - not"
        " authorized. Please see http://www.openspf.net/Why?s=mfrom;id=news@example.org;ip=192.0.2.1",
    ),
    ("RCPT", "554 5.7.1 <ada@example.com>: Recipient address rejected: Sender quota exceeded"),
    ("RCPT", "450 4.7.1 <ada@example.com>: Recipient address rejected: Policy rejection: daily sending limit reached"),
    # Exim and cPanel
    ("RCPT", "550 relay not permitted"),
    (
        "RCPT",
        "550-Please turn on SMTP Authentication in your mail client.\r\n550-host.example.org [192.0.2.1]:40000 is not"
        " permitted to relay\r\n550 through this server without authentication.",
    ),
    ("RCPT", "550-Verification failed for <news@example.org>\r\n550-No Such User Here\r\n550 Sender verify failed"),
    ("RCPT", "550 rejected because 192.0.2.1 is in a black list at zen.spamhaus.org"),
    (
        "CONTENT",
        "550 Domain example.org has exceeded the max emails per hour (151/150 (100%)) allowed. Message discarded.",
    ),
    ("CONTENT", "550 Message rejected because SPF check failed"),
    # OVH, GMX, 1&1, Zoho, Yandex
    ("RCPT", "550 5.7.1 <news@example.org>: Sender address rejected: Your account has been blocked for sending spam"),
    ("CONTENT", "554 5.7.1 Your sending limit has been reached (200 emails per hour)"),
    (
        "CONTENT",
        "450-Requested mail action not taken: mailbox unavailable\r\n450 Mail send limit exceeded. For"
        " explanation visit https://postmaster.gmx.net/en/case?c=r0601",
    ),
    ("CONTENT", "550-Requested action not taken: mailbox unavailable\r\n550 Sender address is not allowed."),
    ("MAIL", "550 Requested action not taken: mailbox unavailable. invalid DNS MX or A/AAAA resource record"),
    ("CONTENT", "550 5.4.6 Unusual sending activity detected. Please try after sometime"),
    ("MAIL", "553 5.7.1 Sender is not allowed to relay emails"),
    ("RCPT", "553 Relaying disallowed as api@example.org"),
    ("CONTENT", "554 5.1.8 Email Outgoing Blocked"),
    ("MAIL", "553 5.7.1 Sender address rejected: not owned by auth user."),
    ("CONTENT", "550 5.7.1 You have exceeded the limit on the number of messages sent per day"),
    ("RCPT", "452 4.5.3 Daily recipients limit exceeded"),
    # QQ and 163
    ("MAIL", "501 mail from address must be same as authorization user"),
    ("CONTENT", "550 Domain frequency limited. https://service.mail.qq.com/detail/0/1000722"),
    ("CONTENT", "550 Ip frequency limited"),
    ("MAIL", "553 Mail from must equal authorized user"),
    ("RCPT", "550 User has no permission"),
    ("RCPT", "550 RP:CEL 163 smtp9,DcmowAA3 http://mail.163.com/help/help_spam_16.htm?ip=192.0.2.1"),
    ("CONTENT", "554 MI:SPF 163 mx18,VsCowED http://mail.163.com/help/help_spam_16.htm?ip=192.0.2.1"),
    # others, and plain words
    ("DATA", "550 5.4.5 daily limit of this account reached"),
    ("CONTENT", "550 Your account is blocked"),
    ("CONTENT", "554 5.7.1 Account blocked"),
    ("CONTENT", "550 5.7.0 This account has been blocked from sending email"),
    ("CONTENT", "550 You have reached your hourly quota"),
    ("CONTENT", "552 5.2.2 Outgoing message quota exceeded"),
    ("CONTENT", "550 5.7.1 Monthly quota of 9,000 e-mails reached; upgrade your plan"),
    ("RCPT", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"),
    ("RCPT", "550 5.7.1 authentication required"),
    ("CONTENT", "554 5.7.1 DKIM signature of example.org is missing"),
    ("CONTENT", "550 5.7.1 You have exceeded the number of emails allowed"),
    ("CONTENT", "550 Sorry, your message quota is exhausted"),
    ("CONTENT", "550 5.7.1 Unconfigured Sending Domain <example.org>"),
    ("CONTENT", "550 5.7.0 From address is not one of your addresses."),
    ("CONTENT", "554 5.7.1 Outbound spam detected, account locked"),
    ("RCPT", "550 5.7.1 server 192.0.2.1 not allowed"),
    ("CONTENT", "550 quota exceeded"),
    ("CONTENT", "550 5.7.1 Email rejected per DMARC policy for example.org"),
    ("RCPT", "571 5.7.1 Blocked: your IP has bad reputation"),
    ("CONTENT", "554 5.7.1 account is temporarily blocked"),
    ("RCPT", "554 5.7.1 limit for this account reached"),
    ("RCPT", "550 5.7.1 Mailbox not local, relaying denied"),
    ("MAIL", "421 4.7.0 Daily sending quota exceeded"),
    ("CONTENT", "554 5.3.2 System not accepting network messages"),
    # more of all of these, and other languages
    ("RCPT", "550 5.7.508 Access denied, [192.0.2.7] has exceeded permitted limits within 24 hours range"),
    ("CONTENT", "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains."),
    ("RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
    (
        "CONTENT",
        "550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit for"
        " sending email to external recipients (tenant external recipient rate limit)",
    ),
    (
        "CONTENT",
        "550-5.7.25 [192.0.2.7] The IP address sending this message does not have a\r\n550-5.7.25 PTR"
        " record setup, or the corresponding forward DNS entry does not\r\n550 5.7.25 match the sending"
        " IP. x - gsmtp",
    ),
    (
        "RCPT",
        "553 5.7.2 [TSS09] All messages from 192.0.2.7 will be permanently deferred; Retrying will NOT"
        " succeed. See https://postmaster.yahooinc.com/error-codes",
    ),
    ("CONTENT", "552 Requested mail action aborted: exceeded mailsend quota"),
    (
        "RCPT",
        "554 Reject by behaviour spam at Rcpt State(Connection IP"
        " address:192.0.2.7)ANTISPAM_BAT[01201311R196a, h-sp0001]: continuous fail",
    ),
    ("CONTENT", "550 MI:NHD 163 mx1,abc"),
    ("CONTENT", "550 RP:RCL 163 smtp1"),
    ("CONTENT", "550 该账户今日发送已超过限额"),
    ("CONTENT", "550 您的账号已被冻结"),
    ("CONTENT", "554 发送频率超限"),
    ("CONTENT", "550 今日发信量超出限制"),
    ("CONTENT", "550 发件人域名未验证"),
    ("CONTENT", "550 发件IP被列入黑名单"),
    ("CONTENT", "550 Ihr Konto wurde gesperrt"),
    ("CONTENT", "550 Sendelimit überschritten"),
    ("CONTENT", "554 Ihr tägliches Versandlimit ist erreicht"),
    ("RCPT", "554 Absenderadresse nicht erlaubt"),
    ("RCPT", "550 Relay nicht erlaubt"),
    ("CONTENT", "550 5.7.1 Quota d'envoi dépassé"),
    ("CONTENT", "550 Votre compte est bloqué"),
    ("CONTENT", "550 Ha superado el límite de envío diario"),
    ("CONTENT", "554 Su cuenta está suspendida"),
    ("CONTENT", "550 Superato il limite giornaliero di invio"),
    ("CONTENT", "554 5.7.1 Przekroczono limit wysyłanych wiadomości"),
    ("CONTENT", "550 Превышен лимит отправки писем"),
    ("CONTENT", "550 Ваш аккаунт заблокирован"),
    ("CONTENT", "550 送信数の上限を超えました"),
    ("CONTENT", "550 Limite de envio diário excedido"),
    ("RCPT", "550 5.7.1 Rejected: 192.0.2.7 listed at bl.example.net"),
    ("RCPT", "550-JunkMail rejected - host.example.org [192.0.2.7]:5000 is in an RBL on rbl.example.com\r\n550 see"),
    ("RCPT", "550 REPLY: 550 Message refused: sender's mail domain has no MX or A record"),
    ("CONTENT", "550 Requested account is disabled: business verification"),
    (
        "CONTENT",
        "550 5.7.1 Your SMTP account is not yet activated. Please contact us at contact@brevo.com to"
        " request activation",
    ),
    ("CONTENT", "450 You can only send testing emails to your own email address (me@example.org)."),
    ("CONTENT", "550 5.7.1 Your message could not be sent: account on hold"),
    ("RCPT", "550 5.7.0 Authorization rejected: the api key is disabled"),
    ("CONTENT", "550 Uw account is geblokkeerd"),
    ("RCPT", "554 5.7.1 El remitente no está autorizado"),
    ("CONTENT", "550 アカウントが停止されています"),
]

# (step, reply): refusals that belong to the recipient or the message, even though some of their words look alike.
BLAMING_THE_RECIPIENT = [
    # Gmail and Google Workspace
    (
        "RCPT",
        "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n550-5.1.1 double-checking"
        " the recipient's email address for typos or\r\n550 5.1.1 unnecessary spaces."
        " https://support.google.com/mail/?p=NoSuchUser x - gsmtp",
    ),
    (
        "RCPT",
        "552-5.2.2 The email account that you tried to reach is over quota and inactive.\r\n552 5.2.2 Please direct"
        " the recipient to https://support.google.com/mail/?p=OverQuotaPerm x - gsmtp",
    ),
    ("RCPT", "552 The email account that you tried to reach is over quota"),
    (
        "RCPT",
        "452-4.2.2 The recipient's inbox is out of storage space. Please direct the\r\n452 4.2.2 recipient to"
        " https://support.google.com/mail/?p=OverQuotaTemp x - gsmtp",
    ),
    ("RCPT", "550 5.2.1 The email account that you tried to reach is disabled. x - gsmtp"),
    (
        "RCPT",
        "450-4.2.1 The user you are trying to contact is receiving mail at a rate that\r\n450-4.2.1 prevents"
        " additional messages from being delivered. Please resend your\r\n450 4.2.1 message at a later time. x - gsmtp",
    ),
    ("RCPT", "550 5.2.1 The user you are trying to contact is receiving mail too quickly"),
    (
        "CONTENT",
        "550-5.7.1 [192.0.2.1      12] Our system has detected that this message is\r\n550-5.7.1 likely"
        " unsolicited mail. To reduce the amount of spam sent to Gmail,\r\n550-5.7.1 this message has been"
        " blocked. Please"
        " visit\r\n550 5.7.1 https://support.google.com/mail/?p=UnsolicitedMessageError x - gsmtp",
    ),
    (
        "CONTENT",
        "552-5.7.0 This message was blocked because its content presents a potential\r\n552 5.7.0 security issue."
        " x - gsmtp",
    ),
    (
        "CONTENT",
        "552-5.3.4 Your message exceeded Google's message size limits. To view our\r\n552 5.3.4 message size"
        " limits, see https://support.google.com/mail/?p=MaxSizeError x - gsmtp",
    ),
    # Microsoft 365
    ("RCPT", "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [AM1PEPF000252DD.eurprd07.prod]"),
    (
        "CONTENT",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient ada@example.com not found by SMTP address lookup",
    ),
    (
        "CONTENT",
        "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuota"
        "Exceeded; Failed to process message due to a permanent exception",
    ),
    (
        "CONTENT",
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction"
        " check failed because the sender was not authenticated when sending to this group",
    ),
    ("CONTENT", "550 5.7.1 RESOLVER.RST.NotAuthorized; not authorized"),
    ("CONTENT", "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required [Stage: CreateMessage]"),
    ("CONTENT", "550 5.2.1 STOREDRV.Deliver; delivery result banned; mailbox disabled"),
    ("RCPT", "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)"),
    # Yahoo
    (
        "CONTENT",
        "554 delivery error: dd This user doesn't have a yahoo.com account (ada@yahoo.com) [0] - mta1.yahoo.com",
    ),
    (
        "CONTENT",
        "554 delivery error: dd Sorry, your message to ada@example.com cannot be delivered. This mailbox is"
        " disabled (554.30). - mta4135.mail.bf1.yahoo.com",
    ),
    ("RCPT", "552 1 Requested mail action aborted, mailbox not found"),
    ("CONTENT", "554 Message not allowed - [PH01] Email not accepted for policy reasons."),
    # Amazon SES, Postmark
    ("CONTENT", "554 Message rejected: Address blacklisted."),
    ("CONTENT", "406 You tried to send to a recipient that has been marked as inactive."),
    # Postfix, Dovecot, Exim, cPanel, qmail
    ("RCPT", "550 5.1.1 <ada@example.com>: Recipient address rejected: User unknown in virtual mailbox table"),
    ("RCPT", "554 5.7.1 <ada@example.com>: Recipient address rejected: Access denied"),
    ("RCPT", "552 5.2.2 <ada@example.com>: Recipient address rejected: Mailbox quota exceeded"),
    ("RCPT", "552 5.2.2 <ada@example.com>: Quota exceeded (mailbox for user is full)"),
    ("CONTENT", "552 5.2.2 <ada@example.com> Quota exceeded (mailbox for user is full)"),
    (
        "RCPT",
        "450 4.2.0 <ada@example.com>: Recipient address rejected: Greylisted, see"
        " http://postgrey.schweikert.ch/help/example.com.html",
    ),
    ("RCPT", "451 4.7.1 Greylisting in action, please come back in 00:04:59"),
    ("RCPT", "550 Unrouteable address"),
    ("RCPT", "550 No Such User Here"),
    ("RCPT", "550 <ada@example.com>: user over quota"),
    (
        "RCPT",
        "550 The mail server could not deliver mail to ada@example.com. The account or domain may not exist, they"
        " may be blacklisted, or missing the proper dns entries.",
    ),
    ("CONTENT", "550 This message was classified as SPAM and may not be delivered"),
    ("RCPT", "550 Administrative prohibition"),
    ("RCPT", "552 User ada@example.com has exceeded his/her disk space limit."),
    ("RCPT", "552 ada@example.com mailbox storage limit exceeded"),
    ("RCPT", "554 5.7.1 <ada@example.com>: Recipient address rejected: user is over quota"),
    ("RCPT", "552 Account is over quota"),
    # GMX, Zoho, Yandex, QQ, 163
    ("RCPT", "550 Requested action not taken: mailbox unavailable"),
    (
        "CONTENT",
        "554-Transaction failed\r\n554-Reject due to policy restrictions.\r\n554 For explanation visit"
        " https://postmaster.gmx.net/en/case?c=hi&i=ip&v=192.0.2.1",
    ),
    ("CONTENT", "554 5.7.1 [2] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc 1700000000-AbCdEf"),
    ("RCPT", "550 5.7.1 Policy rejection on the target address"),
    ("CONTENT", "451 4.5.1 The recipient has exceeded their message rate limit. Try again later."),
    ("RCPT", "541 5.4.1 Mail rejected by destination domain"),
    ("RCPT", "550 Mailbox unavailable or access denied"),
    ("RCPT", "550 User not found: ada@example.com"),
    ("CONTENT", "550 Mail content denied. https://service.mail.qq.com/detail/0/1000726"),
    ("CONTENT", "554 DT:SPM 163 smtp8,DMCowABn http://mail.163.com/help/help_spam_16.htm?ip=192.0.2.1"),
    ("RCPT", "550 User suspended"),
    # others, and plain words
    ("RCPT", "550 5.1.1 account disabled"),
    ("RCPT", "550 account has been disabled"),
    ("RCPT", "550 This account has been disabled or discontinued"),
    ("RCPT", "550 5.2.1 Mailbox suspended"),
    ("RCPT", "550 recipient rejected"),
    ("RCPT", "550 5.7.1 Refused by the recipient's rules"),
    ("RCPT", "550 5.7.1 You are not allowed to send to this group"),
    ("RCPT", "550 5.7.1 Sender is not authorized to send messages to this distribution list"),
    ("RCPT", "550 5.7.1 Message blocked by the recipient"),
    ("RCPT", "550 5.7.1 The recipient has blocked you"),
    ("CONTENT", "554 5.7.1 Your message was rejected as spam"),
    ("CONTENT", "550 5.7.1 Message blocked: it contains a virus"),
    ("CONTENT", "554 5.6.0 Message too long; limit is 10 MB"),
    ("RCPT", "554 5.7.1 <quota-exceeded@relay-denied.example>: no"),
    ("RCPT", "550 5.7.1 No. (in reply to id sending-limit-7.blocked.example.net at 2026-11-30T10:00:00)"),
    ("RCPT", "550 5.2.2 <ada@example.com> over quota"),
    ("RCPT", "550 5.7.1 Access denied"),
    ("RCPT", "550 no"),
    ("CONTENT", "454 Throttling failure: Maximum sending rate exceeded."),
    ("RCPT", "550 This mailbox has reached its daily limit of received messages"),
    ("RCPT", "550 sorry, that recipient has too many messages"),
    ("CONTENT", "550 Rejected by header based manually Blocked Senders"),
    ("RCPT", "552 5.2.2 quota exceeded"),
    ("RCPT", "554 The mailbox of the user is over its quota limit"),
    ("RCPT", "551 User not local; please try <ada@example.net>"),
    ("RCPT", "550 permanent failure for one or more recipients (ada@example.com:blocked)"),
    ("RCPT", "450 4.2.1 later"),
    ("CONTENT", "451 4.3.2 Come back later"),
    ("RCPT", "451 4.4.4 no server of this domain answers"),
    # more of all of these, and other languages
    ("RCPT", "550 5.7.504 [ada@example.com]: Recipient address rejected: Access denied"),
    ("RCPT", "550 5.7.505 Access denied, banned recipient"),
    ("RCPT", "550 5.7.507 Access denied, rejected by recipient"),
    (
        "RCPT",
        "452-4.5.3 Domain policy size per transaction exceeded, please try this recipient\r\n452 4.5.3"
        " in a separate transaction. x - gsmtp",
    ),
    ("RCPT", "559 Invalid rcptto [@sm060105]"),
    ("RCPT", "550 收件人不存在"),
    ("RCPT", "550 用户不存在"),
    ("RCPT", "552 收件人邮箱已满"),
    ("RCPT", "550 收件人邮箱容量超出限制"),
    ("RCPT", "550 收件人账号已被冻结"),
    ("RCPT", "550 该用户已被禁用"),
    ("RCPT", "550 收件人拒收"),
    ("RCPT", "550 Empfänger unbekannt"),
    ("RCPT", "550 Das Konto des Empfängers wurde gesperrt"),
    ("RCPT", "552 Postfach voll, Limit überschritten"),
    ("RCPT", "552 La boîte du destinataire a dépassé son quota"),
    ("RCPT", "550 Utilisateur inconnu"),
    ("RCPT", "552 El buzón del destinatario ha superado el límite"),
    ("RCPT", "550 Cuenta inexistente"),
    ("RCPT", "552 Ящик получателя переполнен: превышен лимит"),
    ("RCPT", "550 Аккаунт получателя заблокирован"),
    (
        "RCPT",
        "550 Message was not accepted -- invalid mailbox.  Local mailbox ada@mail.ru is unavailable:"
        " user is terminated",
    ),
    (
        "RCPT",
        "550 Message was not accepted -- invalid mailbox.  Local mailbox ada@mail.ru is unavailable:"
        " account is disabled",
    ),
    ("RCPT", "550-Callout verification failed:\r\n550 550 No such user"),
    ("RCPT", "550 5.7.193 UserNotInMemberList; The sender is not on the allowed list of the team"),
    ("RCPT", "550 対応する受信者のアカウントは停止されています"),
    ("RCPT", "550 El destinatario no acepta el envío, límite superado"),
]

# (step, reply): too many connections at once.
TOO_MANY_CONNECTIONS = [
    (
        "MAIL",
        "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending [x.outlook.com]",
    ),
    ("MAIL", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded; too many concurrent connections"),
    ("RCPT", "421 4.7.0 too many connections"),
    ("MAIL", "421 Too many concurrent SMTP connections; please try again later."),
    ("MAIL", "421 4.7.0 mail.example.com Error: too many connections from 192.0.2.1"),
    ("MAIL", "421 4.3.2 The maximum number of concurrent server connections has exceeded a limit"),
]
