"""Where a key goes: Java's clients, and librdkafka's ``murmur2_random``, agree on it.

The producer lets librdkafka choose; this says what it chooses, for whoever reads one partition.
"""


def partition(key: bytes, partitions: int) -> int:
    """The partition of a key."""
    return (murmur2(key) & 0x7FFF_FFFF) % partitions


def murmur2(key: bytes) -> int:
    """MurmurHash2 as Kafka seeds it, as 32 bits without a sign."""
    seed, multiplier, mask = 0x9747_B28C, 0x5BD1_E995, 0xFFFF_FFFF
    code = seed ^ len(key)
    whole = len(key) - len(key) % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        code = (code * multiplier & mask) ^ word
    if whole < len(key):
        code = (code ^ int.from_bytes(key[whole:], "little")) * multiplier & mask
    code = (code ^ (code >> 13)) * multiplier & mask
    return code ^ (code >> 15)
