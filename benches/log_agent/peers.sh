#!/usr/bin/env bash
# Fetches rsyslog and syslog-ng into a folder. Their Debian packages conflict with each other, so neither is installed.
set -euo pipefail
folder=${1:?usage: peers.sh FOLDER}
[ -x "$folder/usr/sbin/rsyslogd" ] && [ -x "$folder/usr/sbin/syslog-ng" ] && exit 0
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
mkdir -p "$folder"
(cd "$packages" && apt-get download -q rsyslog syslog-ng-core \
    libestr0 libfastjson4 liblognorm5 libivykis0 libnet1 libwrap0 libjson-c5 libglib2.0-0 libpcre3)
for package in "$packages"/*.deb; do dpkg -x "$package" "$folder"; done
