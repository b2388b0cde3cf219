#!/bin/sh
# Process 1 of the virtual machine, on its own Debian system: mounts what a system has, the repository at /cais, runs the
# commands of /cais-guest/run, and powers off. Results go to the second serial port.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sfn /proc/self/fd /dev/fd
hostname cais-vm
ip link set lo up
mount -t ext4 -o noatime /dev/vdb /cais
for module in overlay veth bridge nf_tables nft_chain_nat nft_masq; do modprobe "$module"; done

cd /cais
sh ./guest-run >/dev/ttyS1 2>/dev/console
sync
# The machine was started with -no-reboot; this ends it at once.
echo o >/proc/sysrq-trigger
sleep 60
