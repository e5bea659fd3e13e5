#!/bin/sh
# Start Redis with the users service, operator and readonly, whose passwords lie in the secrets volume.
# The users prevent accidents; the threat model is in backoffice/docs/security.md.
set -eu
umask 077

hash_of() { printf '%s' "$(cat "/run/claire/redis/$1_password")" | sha256sum | cut -d ' ' -f 1; }

# `default` cannot log in (off, no password) but keeps its command rights: Redis replays its own log as this user, and
# without them it would throw away every scripted write, which is the whole journal, at each start.
#
# `service` is all of the services: no administration, nothing that empties or stops the server, no look at who else is
# connected. (Scripts need DEL on the journal's own keys, so it can delete those.)
#
# `operator` reads, publishes where an operator may, and runs the publish script of the `claire` command. Scripts have
# the rights of their caller: it may append to the journal and move its head, and nothing else (no lease, no fence, no
# cursor, no deletion).
cat > /tmp/users.acl <<ACL
user default off resetpass ~* &* +@all
user service on #$(hash_of service) ~* &* +@all -@admin -@dangerous +info +config|get
user operator on #$(hash_of operator) ~* resetchannels &market_data &signals &alerts &control +@read +@connection +@pubsub -@admin -@dangerous +info +eval +evalsha (+xadd ~journal) (+hset ~bus ~last_id)
user readonly on #$(hash_of readonly) ~* resetchannels &market_data &signals &orders &order_results &alerts &risk_decisions &control +@read +@connection -@admin -@dangerous +subscribe +unsubscribe +info
ACL

cat /etc/claire/redis.conf - > /tmp/redis.conf <<CONF
aclfile /tmp/users.acl
appendfsync ${REDIS_APPENDFSYNC:-everysec}
maxmemory ${REDIS_MAXMEMORY:-512mb}
CONF

exec redis-server /tmp/redis.conf
