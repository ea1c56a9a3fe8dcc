"""The version of the tables that this program works with."""

VERSION = 2
DIGESTS = {2: "e393190d2aba5627"}  # of schema.sql, for each version that records one
DIGEST = DIGESTS[VERSION]
