-- SPDX-License-Identifier: MIT
--- A Redis server of one's own: the one that the dashboard has for its outage.
return require "perigee.dashboard.redis_server"
