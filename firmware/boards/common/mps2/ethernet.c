/* SMSC LAN9118, or the LAN9220 that real boards have; 32-bit accesses only. */
#include <string.h>

#include "mps2.h"

#define RX_DATA VP_REGISTER(VP_MPS2_ETHERNET + 0x00u)
#define TX_DATA VP_REGISTER(VP_MPS2_ETHERNET + 0x20u)
#define RX_STATUS VP_REGISTER(VP_MPS2_ETHERNET + 0x40u)
#define TX_STATUS VP_REGISTER(VP_MPS2_ETHERNET + 0x48u)
#define IRQ_CFG VP_REGISTER(VP_MPS2_ETHERNET + 0x54u)
#define INT_STS VP_REGISTER(VP_MPS2_ETHERNET + 0x58u)
#define INT_EN VP_REGISTER(VP_MPS2_ETHERNET + 0x5Cu)
#define BYTE_TEST VP_REGISTER(VP_MPS2_ETHERNET + 0x64u)
#define FIFO_INT VP_REGISTER(VP_MPS2_ETHERNET + 0x68u)
#define RX_CFG VP_REGISTER(VP_MPS2_ETHERNET + 0x6Cu)
#define TX_CFG VP_REGISTER(VP_MPS2_ETHERNET + 0x70u)
#define HW_CFG VP_REGISTER(VP_MPS2_ETHERNET + 0x74u)
#define RX_FIFO_INF VP_REGISTER(VP_MPS2_ETHERNET + 0x7Cu)
#define TX_FIFO_INF VP_REGISTER(VP_MPS2_ETHERNET + 0x80u)
#define MAC_CSR_CMD VP_REGISTER(VP_MPS2_ETHERNET + 0xA4u)
#define MAC_CSR_DATA VP_REGISTER(VP_MPS2_ETHERNET + 0xA8u)

#define BYTE_TEST_VALUE 0x87654321u
#define HW_CFG_RESET 1u
#define HW_CFG_TX_FIFO_5K (5u << 16)
#define IRQ_ENABLE_ACTIVE_HIGH_PUSH_PULL 0x111u
#define FIFO_INT_RX_LEVEL_0 0x48000000u
#define TX_CFG_ON 2u
#define INT_RX_STATUS_LEVEL 8u
#define MAC_CSR_BUSY 0x80000000u
#define MAC_CR 1u
#define MAC_ADDRESS_HIGH 2u
#define MAC_ADDRESS_LOW 3u
#define MAC_FULL_DUPLEX_ALL_MULTICAST_TX_RX 0x0018000Cu
#define RX_STATUS_ERROR 0x00008000u
#define TX_FIRST_AND_LAST 0x3000u

#define FCS_SIZE 4u
#define TX_COMMANDS_SIZE 8u
#define ATTEMPTS 100000u

static int present;
static volatile int raised;

static int wait_clear(volatile uint32_t *reg, uint32_t bits)
{
    for (uint32_t i = 0; i < ATTEMPTS; i++) {
        if ((*reg & bits) == 0u) {
            return 1;
        }
    }
    return 0;
}

static int write_mac_register(uint32_t number, uint32_t value)
{
    MAC_CSR_DATA = value;
    MAC_CSR_CMD = MAC_CSR_BUSY | number;
    return wait_clear(&MAC_CSR_CMD, MAC_CSR_BUSY);
}

/* The interrupt stays off until the main loop has emptied the FIFO. */
void vp_mps2_ethernet_interrupt(void)
{
    INT_EN = 0;
    raised = 1;
}

int vp_mps2_ethernet_waiting(void)
{
    return raised;
}

int vp_board_ethernet_start(const uint8_t mac[6])
{
    const uint32_t low = (uint32_t)mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 |
                         (uint32_t)mac[3] << 24;
    const uint32_t high = (uint32_t)mac[4] | (uint32_t)mac[5] << 8;
    if (BYTE_TEST != BYTE_TEST_VALUE) {
        return -1;
    }
    HW_CFG = HW_CFG_RESET;
    if (!wait_clear(&HW_CFG, HW_CFG_RESET)) {
        return -1;
    }
    HW_CFG = HW_CFG_TX_FIFO_5K;
    IRQ_CFG = IRQ_ENABLE_ACTIVE_HIGH_PUSH_PULL;
    FIFO_INT = FIFO_INT_RX_LEVEL_0;
    RX_CFG = 0;
    TX_CFG = TX_CFG_ON;
    INT_STS = 0xffffffffu;
    if (!write_mac_register(MAC_ADDRESS_LOW, low) || !write_mac_register(MAC_ADDRESS_HIGH, high) ||
        !write_mac_register(MAC_CR, MAC_FULL_DUPLEX_ALL_MULTICAST_TX_RX)) {
        return -1;
    }
    present = 1;
    INT_EN = INT_RX_STATUS_LEVEL;
    vp_core_enable_interrupt(VP_MPS2_ETHERNET_INTERRUPT);
    return 0;
}

/* Empties the words of one frame out of the FIFO. @return its size without FCS, or 0: dropped. */
static size_t take_frame(uint32_t status, uint8_t *frame, size_t capacity)
{
    const size_t size = status >> 16 & 0x3fffu;
    const int keep =
        (status & RX_STATUS_ERROR) == 0u && size > FCS_SIZE && size - FCS_SIZE <= capacity;
    const size_t wanted = keep ? size - FCS_SIZE : 0u;
    for (size_t at = 0; at < size; at += sizeof(uint32_t)) {
        const uint32_t word = RX_DATA;
        if (at < wanted) {
            const size_t left = wanted - at;
            memcpy(frame + at, &word, left < sizeof(word) ? left : sizeof(word));
        }
    }
    return wanted;
}

size_t vp_board_ethernet_read(uint8_t *frame, size_t capacity)
{
    if (!present) {
        return 0;
    }
    for (;;) {
        while ((RX_FIFO_INF >> 16 & 255u) != 0u) {
            const size_t size = take_frame(RX_STATUS, frame, capacity);
            if (size != 0u) {
                return size;
            }
        }
        if (!raised) {
            return 0;
        }
        /* A frame that comes from here on raises it again; one that came just before is seen. */
        raised = 0;
        INT_STS = 0xffffffffu;
        INT_EN = INT_RX_STATUS_LEVEL;
    }
}

void vp_board_ethernet_write(const uint8_t *frame, size_t size)
{
    if (!present || (TX_FIFO_INF & 0xffffu) < size + sizeof(uint32_t) + TX_COMMANDS_SIZE) {
        return;
    }
    TX_DATA = TX_FIRST_AND_LAST | (uint32_t)size;
    TX_DATA = (uint32_t)size << 16 | (uint32_t)size;
    for (size_t at = 0; at < size; at += sizeof(uint32_t)) {
        uint32_t word = 0;
        const size_t left = size - at;
        memcpy(&word, frame + at, left < sizeof(word) ? left : sizeof(word));
        TX_DATA = word;
    }
    while ((TX_FIFO_INF >> 16 & 255u) != 0u) {
        (void)TX_STATUS;
    }
}
