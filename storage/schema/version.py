"""The version of the tables that this program works with."""

VERSION = 4
# Of the SQL that creates the tables, for each version that records one.
DIGESTS = {2: "e393190d2aba5627", 3: "f2f8931f7d4fd553", 4: "1c74eef42d722899"}
DIGEST = DIGESTS[VERSION]
