"""Files that are whole or not there: artifacts, the cache, locks, disks."""
