"""What must always hold, as checks that find faults and say how each is mended; `audit` runs them.

faults     what is found, and how it is mended
database   twists, versions, priorities, and rows that are of nothing
instances  the checks of one instance, in their order
scene      an instance within a transaction, for those:
row, leases, versions, line, life, recurring
"""
