/* Ethernet of a board that has none. */
#include "vp/board.h"

int vp_board_ethernet_start(const uint8_t mac[6])
{
    (void)mac;
    return -1;
}

size_t vp_board_ethernet_read(uint8_t *frame, size_t capacity)
{
    (void)frame;
    (void)capacity;
    return 0;
}

void vp_board_ethernet_write(const uint8_t *frame, size_t size)
{
    (void)frame;
    (void)size;
}
