"""The exchange itself, pure: accounts, books, matching, order states. Time comes in with each call, nothing else does.

The rooms: `listing` (what is traded at which rules), `depth` (levels around a recorded quote), `book` (one instrument's
levels and resting orders), `walk` (what a marketable order would take), `orders` (an order and its states), `wallet`
(spot balances), `margin` (positions of perpetual contracts), `spot` and `perpetual` (what each venue does with an
order), `exchange` (all of it together), `facts` (what happened, for the streams and the ledger).
"""
