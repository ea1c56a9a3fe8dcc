"""Deliveries: one email to one recipient each. This package claims, records, lists and retries them.

Theory of operation
-------------------
A delivery has one of seven statuses. Apart from a late acceptance (below), these are the only transitions:

    (no row), queued   -> claimed               a sender reserves it (claim.py)
    claimed            -> sending               its final dot is about to be sent (outcome.py)
    sending            -> sent                  2yz to the final dot
    claimed, sending   -> queued                4yz, or the connection was lost: retried later
    claimed, sending   -> failed                5yz, or deferred until RETRY_FOR has passed
    sending            -> queued or unknown     in doubt: sent again once (IN_DOUBT=resend), or left to an operator
    claimed, sending   -> queued                released: the message did not end; no attempt is counted
    sending            -> claimed               refused after the dot, with the outcome still undecided
    queued, claimed    -> cancelled             the email was cancelled, or the recipient unsubscribed, was removed or
                                                rejected (storage/cancellation.py, storage/recipients)
    failed, unknown    -> queued                retried manually (retry.py)
    unknown            -> sent or failed        decided manually (retry.py)

`sending` is committed before the final dot leaves. So everything that a crash can leave in doubt is in this status, and
nothing else is.

Ownership. `claimed_by` names the sender that holds the claim. Every change by a sender is a conditional UPDATE that
requires this sender and the old status, and its row count is checked. `Deliveries.record` changes a whole batch in one
commit. If any count is wrong, a claim was lost: the batch is rolled back, its rows are recorded one by one, and the
caller learns which messages may still end. A commit may be repeated if its reply was lost, so marking a delivery as
`sending` twice is allowed.

Late acceptance. A known acceptance is recorded even if the claim was lost, with one exception: if the row is `sending`
for another sender, that sender may have sent the message too, and its outcome counts.

Counting. `progress` counts the deliveries of an email and how many have each final status, in the transaction of the
change itself. An email is `sent` once its cursor has reached the last recipient and the counts add up. `hourly_stats`
counts outcomes for charts and metrics.

Unwanted deliveries. When a delivery goes back to `queued`, it becomes `cancelled` if the recipient is no longer active
or the email was cancelled meanwhile. The row in `progress` is locked for this check, so either a concurrent cancel sees
the queued delivery, or the check sees the cancel. Lock order: the row in `progress`, then the row in `emails`.
"""
