# SPDX-License-Identifier: MIT
"""Caches of Python, driven as bench/cases/python.lua drives Perigee's.

    python3 python_peers.py list
        prints "NAME LOOP" for each that this Python has and can use
    python3 python_peers.py measure NAME LOOP KEYS CAPACITY ROUNDS
        prints "series", its name and nanoseconds per operation, one number per round

LOOP is "hits" (every key is there), "get-else-set" or "functions" (hits of a decorated function).
KEYS is a file with a key in each line, asked for in this order.
"""

import asyncio
import functools
import sys
import time

TTL = 3600


def answer(_key):
    return 1


async def answer_later(_key):
    return 1


# Each maker returns a function that drives a list of keys once; keys must be there after the first.


def calls(function):
    def drive(keys):
        for key in keys:
            function(key)

    return drive


def awaits(function):
    async def drive(keys):
        for key in keys:
            await function(key)

    return drive


def make_lru_cache(capacity):
    return calls(functools.lru_cache(maxsize=capacity)(answer))


def make_mapping(cache):
    def drive(keys):
        for key in keys:
            if cache.get(key) is None:
                cache[key] = 1

    return drive


def make_cachetools(capacity):
    import cachetools

    return make_mapping(cachetools.LRUCache(maxsize=capacity))


def make_cachetools_ttl(capacity):
    import cachetools

    return make_mapping(cachetools.TTLCache(maxsize=capacity, ttl=TTL))


def make_cachetools_function(capacity):
    import cachetools

    return calls(cachetools.cached(cachetools.LRUCache(maxsize=capacity))(answer))


def make_cachetools_ttl_function(capacity):
    import cachetools

    return calls(cachetools.cached(cachetools.TTLCache(maxsize=capacity, ttl=TTL))(answer))


def make_async_lru(capacity):
    from cache import AsyncLRU

    return awaits(AsyncLRU(maxsize=capacity)(answer_later))


def make_async_ttl(capacity):
    from cache import AsyncTTL

    return awaits(AsyncTTL(time_to_live=TTL, maxsize=capacity)(answer_later))


def make_aiocache(_capacity):
    from aiocache import SimpleMemoryCache

    cache = SimpleMemoryCache()

    async def drive(keys):
        for key in keys:
            if await cache.get(key) is None:
                await cache.set(key, 1, ttl=TTL)

    return drive


def make_aiocache_function(_capacity):
    import aiocache

    return awaits(aiocache.cached(ttl=TTL)(answer_later))


# What is but a decorator is called where others get; aiocache's memory has no bound: it evicts
# nothing, and so has no figure for that.
MAKERS = {
    "functools.lru_cache": dict.fromkeys(("hits", "get-else-set", "functions"), make_lru_cache),
    "cachetools.LRUCache": {
        "hits": make_cachetools,
        "get-else-set": make_cachetools,
        "functions": make_cachetools_function,
    },
    "cachetools.TTLCache": {
        "hits": make_cachetools_ttl,
        "get-else-set": make_cachetools_ttl,
        "functions": make_cachetools_ttl_function,
    },
    "AsyncLRU": dict.fromkeys(("hits", "get-else-set", "functions"), make_async_lru),
    "AsyncTTL": dict.fromkeys(("hits", "get-else-set", "functions"), make_async_ttl),
    "aiocache": {"hits": make_aiocache, "functions": make_aiocache_function},
}


async def run(drive, keys):
    """Processor seconds of one round."""
    began = time.process_time()
    result = drive(keys)
    if result is not None:
        await result
    return time.process_time() - began


def works(maker):
    try:
        asyncio.run(run(maker(2), ["a", "b", "a"]))
        return True
    except Exception:  # it is not installed, or of a version that is used otherwise
        return False


def show_list():
    for name, loops in MAKERS.items():
        for loop, maker in loops.items():
            if works(maker):
                print(name, loop)


async def measure(name, loop, path, capacity, rounds):
    with open(path, encoding="ascii") as file:
        keys = file.read().split()
    drive = MAKERS[name][loop](capacity)
    await run(drive, keys)
    took = [await run(drive, keys) / len(keys) * 1e9 for _ in range(rounds)]
    print("series\t%s\t%s" % (name, " ".join("%.9g" % value for value in took)))


def main(words):
    if words[:1] == ["list"]:
        show_list()
    else:
        name, loop, path, capacity, rounds = words[1:]
        asyncio.run(measure(name, loop, path, int(capacity), int(rounds)))


main(sys.argv[1:])
