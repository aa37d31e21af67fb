/**
 * @file node_state.h
 * What the files of this folder share: states, and the functions between them.
 */
#ifndef VP_NODE_STATE_H
#define VP_NODE_STATE_H

#include "vp/node.h"

/* INPUT_CAPTURING: from the board's own source, INPUT_RECEIVING: by messages. */
enum vp_node_input_state { INPUT_NONE = 0, INPUT_RECEIVING, INPUT_CAPTURING, INPUT_COMPLETE };

/* WORK_INPUT: on the input in the buffer, which may still be coming. WORK_INFER: on an input that is
 * complete and of which the model wants nothing more; the buffer is free for the next one. */
enum vp_node_work_phase { WORK_NONE = 0, WORK_INPUT, WORK_INFER };

uint64_t vp_node_now(const vp_node *node);

/* node_send.c */
void vp_node_send_hello(vp_node *node, enum vp_node_link link);
void vp_node_send_fault(vp_node *node, enum vp_node_link link);
void vp_node_send_sack(vp_node *node, enum vp_node_link link, uint16_t request, uint32_t chunks);
void vp_node_send_sack_of_input(vp_node *node);
void vp_node_answer_prediction(vp_node *node, enum vp_node_link link,
                               const vp_prediction *prediction, uint32_t chunks);
void vp_node_refuse(vp_node *node, enum vp_node_link link, uint16_t request, uint8_t code);
void vp_node_send_error(vp_node *node, enum vp_node_link link, uint16_t request, uint8_t code);
const vp_node_answer *vp_node_find_answer(const vp_node *node, uint16_t request);
void vp_node_send_answer_again(vp_node *node, enum vp_node_link link, const vp_node_answer *answer);

/* node_input.c */
void vp_node_take_chunk(vp_node *node, enum vp_node_link link, const vp_input *chunk);
void vp_node_check_gap(vp_node *node);
int vp_node_chunk_here(const vp_node *node, uint32_t chunk);
/* Whether a request is newer than all that the node knows: the signed 16-bit difference is above 0. */
int vp_node_is_new(const vp_node *node, uint16_t request);
int vp_node_k_ok(const vp_node *node, uint8_t k);
/* Replaces what the buffer holds, for which see node_input.c. */
void vp_node_free_input(vp_node *node);
/* Takes the input for gone, whatever its state. */
void vp_node_drop_input(vp_node *node);
void vp_node_set_geometry(vp_node *node, uint16_t height, uint16_t width);
/* Answers a question for a request that is neither new nor in the buffer. */
void vp_node_report_past(vp_node *node, enum vp_node_link link, uint16_t request);

/* node_capture.c */
void vp_node_take_trigger(vp_node *node, enum vp_node_link link, const vp_trigger *trigger);
/* @return 1 if more of the input is here than before. */
int vp_node_capture_piece(vp_node *node);

/* node_work.c */
int vp_node_work_piece(vp_node *node);

#endif
