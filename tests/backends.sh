#!/usr/bin/env bash
# Installs what tests start for real, from Debian's packages: servers, none of them as a service, and a browser.
set -euo pipefail
has() { command -v "$1" >/dev/null; }
if has redis-server && has promtool && has amtool && has chromium && { has alertmanager || has prometheus-alertmanager; }; then
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  echo "as root: apt-get install redis-server prometheus prometheus-alertmanager chromium fonts-dejavu-core" >&2
  exit 1
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
  redis-server prometheus prometheus-alertmanager chromium fonts-dejavu-core >/dev/null
