"""The schema version that this program requires."""

VERSION = 5
# The digest of the SQL that creates the tables, for each version that records one.
DIGESTS = {2: "e393190d2aba5627", 3: "f2f8931f7d4fd553", 4: "1c74eef42d722899", 5: "abd82cd64f27b0a4"}
DIGEST = DIGESTS[VERSION]
