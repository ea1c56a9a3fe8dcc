"""The version of the tables that this program works with."""

VERSION = 3
DIGESTS = {2: "e393190d2aba5627", 3: "f2f8931f7d4fd553"}  # of schema.sql, for each version that records one
DIGEST = DIGESTS[VERSION]
