/**
 * @file virtual_nodes.h
 * What the files of the virtual nodes share.
 */
#ifndef VP_VIRTUAL_NODES_H
#define VP_VIRTUAL_NODES_H

#include "vp_virtual.h"

/* virtual_send.c */
void vp_virtual_send_hello(vp_virtual *fleet, vp_virtual_node *node);
void vp_virtual_send_sack(vp_virtual *fleet, vp_virtual_node *node, const vp_sack *sack);
void vp_virtual_send_error(vp_virtual *fleet, vp_virtual_node *node, uint16_t request, uint8_t code);
void vp_virtual_send_prediction(vp_virtual *fleet, vp_virtual_node *node,
                                const vp_prediction *prediction, int again);
int vp_virtual_flush(vp_virtual *fleet);

/* virtual_input.c */
uint64_t vp_virtual_chunk_digest(const uint8_t *data, size_t size, uint16_t chunk);
void vp_virtual_start_afresh(vp_virtual_node *node);
void vp_virtual_take_chunk(vp_virtual *fleet, vp_virtual_node *node, const vp_input *chunk,
                           uint64_t chunk_digest);
void vp_virtual_take_trigger(vp_virtual *fleet, vp_virtual_node *node, const vp_trigger *trigger);
void vp_virtual_do_due(vp_virtual *fleet, vp_virtual_node *node);
uint64_t vp_virtual_wake(const vp_virtual_node *node);

#endif
