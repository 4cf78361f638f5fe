/* SPDX-License-Identifier: MIT
 *
 * address.h: sockets that connect, and that listen. Private to the runtime.
 */
#ifndef PERIGEE_ADDRESS_H
#define PERIGEE_ADDRESS_H

/* perigee_address_connect: begins to connect to a numeric address and port, or, if `port` is 0, to
 * the unix socket of that path. Returns a descriptor, which becomes writable when it is connected
 * or has failed; or -errno (-EINVAL: that is no address). */
int perigee_address_connect(const char *address, int port);

/* perigee_address_listen: listens at a numeric address; port 0: any. Returns a descriptor, and fills
 * in the port; or -errno (-EINVAL: that is no address). */
int perigee_address_listen(const char *address, int port, int *port_taken);

#endif
