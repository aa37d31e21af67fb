/* The Ethernet functions of vp/board.h on the MAC of STM32F4 and STM32F7 and a PHY on RMII. */
#include "mac.h"
#include "phy.h"
#include "rings.h"
#include "stm32.h"

#define ETHERNET_INTERRUPT 61u

/* LAN8720A and LAN8742A want their reset for 100 us; the rest is for their clock to come up. */
#define PHY_RESET_US 200u
#define PATIENCE_US 100000u

static int present;
static unsigned link;

static int elapsed(uint64_t since_us, uint32_t period_us)
{
    return vp_board_now_us() - since_us >= period_us;
}

static void reset_phy(void)
{
#ifdef VP_STM32_PHY_RESET
    vp_stm32_pin_output(VP_STM32_PHY_RESET, 0);
    const uint64_t begin_us = vp_board_now_us();
    while (!elapsed(begin_us, PHY_RESET_US)) {
    }
    vp_stm32_pin_write(VP_STM32_PHY_RESET, 1);
#endif
}

/* Ends only when the PHY gives its 50 MHz. */
static int reset_mac(void)
{
    const uint64_t begin_us = vp_board_now_us();
    vp_mac_write(ETH_DMABMR, ETH_DMABMR_SR);
    while ((vp_mac_read(ETH_DMABMR) & ETH_DMABMR_SR) != 0u) {
        if (elapsed(begin_us, PATIENCE_US)) {
            return 0;
        }
    }
    /* Never zero (33.8.4); so reads an emulator without this controller. */
    return vp_mac_read(ETH_DMABMR) != 0u;
}

static int find_phy(void)
{
    const uint64_t begin_us = vp_board_now_us();
    while (vp_phy_start() != 0) {
        if (elapsed(begin_us, PATIENCE_US)) {
            return 0;
        }
    }
    return 1;
}

/* Of two writes to one of these registers the second may be lost within four clocks of the PHY (ES0182,
 * "Successive write operations to the same register might not be fully taken into account"): so each is
 * written once, long after the reset and long before the link changes ETH_MACCR. */
static void configure(const uint8_t mac[6])
{
    vp_mac_write(ETH_DMABMR, ETH_DMABMR_AAB | ETH_DMABMR_FB | ETH_DMABMR_PBL_32);
    vp_mac_write(ETH_DMASR, ETH_DMASR_ALL);
    /* The counters raise the same interrupt when they are half full; nobody reads them. */
    vp_mac_write(ETH_MMCRIMR, ETH_MMCRIMR_ALL);
    vp_mac_write(ETH_MMCTIMR, ETH_MMCTIMR_ALL);
    vp_mac_write(ETH_MACA0HR, (uint32_t)mac[4] | (uint32_t)mac[5] << 8);
    vp_mac_write(ETH_MACA0LR, (uint32_t)mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 |
                                  (uint32_t)mac[3] << 24);
    vp_mac_write(ETH_MACFFR, ETH_MACFFR_PAM);
    vp_rings_start();
    vp_mac_write(ETH_DMAIER, ETH_DMAIER_NISE | ETH_DMAIER_RIE);
    vp_mac_write(ETH_DMAOMR, ETH_DMAOMR_RSF | ETH_DMAOMR_TSF | ETH_DMAOMR_ST | ETH_DMAOMR_SR);
}

int vp_board_ethernet_start(const uint8_t mac[6])
{
    reset_phy();
    vp_stm32_start_rmii();
    if (!reset_mac() || !find_phy()) {
        return -1;
    }
    configure(mac);
    link = 0;
    present = 1;
    vp_core_enable_interrupt(ETHERNET_INTERRUPT);
    return 0;
}

/* Only ends the sleep: what came is seen in its descriptor. Written before the handler ends, or the
 * interrupt would come again. */
void vp_stm32_ethernet_interrupt(void)
{
    vp_mac_write(ETH_DMASR, ETH_DMASR_NIS | ETH_DMASR_RS | ETH_DMASR_TS | ETH_DMASR_TBUS);
    vp_mac_order();
}

int vp_stm32_ethernet_waiting(void)
{
    return present && vp_rings_waiting();
}

/* Carrier sense is off during transmission: RMII has it for reception alone. */
static void follow_link(void)
{
    const unsigned before = link;
    link = vp_phy_poll(vp_board_now_us());
    if (link == before) {
        return;
    }
    uint32_t configuration = ETH_MACCR_RESERVED | ETH_MACCR_CSD;
    if ((link & VP_PHY_UP) != 0u) {
        configuration |= ETH_MACCR_TE | ETH_MACCR_RE;
    }
    if ((link & VP_PHY_100_MBIT) != 0u) {
        configuration |= ETH_MACCR_FES;
    }
    if ((link & VP_PHY_FULL_DUPLEX) != 0u) {
        configuration |= ETH_MACCR_DM;
    }
    vp_mac_write(ETH_MACCR, configuration);
}

size_t vp_board_ethernet_read(uint8_t *frame, size_t capacity)
{
    if (!present) {
        return 0;
    }
    follow_link();
    return vp_rings_receive(frame, capacity);
}

void vp_board_ethernet_write(const uint8_t *frame, size_t size)
{
    if (present && (link & VP_PHY_UP) != 0u) {
        (void)vp_rings_send(frame, size);
    }
}
