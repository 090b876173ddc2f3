# Of the Python tests those that sanitizers see each time: one of each way through the code that holds memory or reads
# what others wrote. `-k WORD` takes all tests whose names contain it.
set(sanitized_run.resume Resume.test_stopped_by_a_signal)
set(sanitized_run.damaged Damaged.test_a_bit_in_every_dataset Damaged.test_cut_short Damaged.test_no_room_for_metrics)
set(sanitized_run.stream Stream.test_the_same_bits_on_any_number_of_ranks)
set(sanitized_run.cache Cache.test_the_same_bits_wherever_cells_come_from)
set(sanitized_run.changes Changes.test_another_content)
set(sanitized_run.families Families.test_end_to_end)
set(sanitized_run.expression Expression.test_commands)
set(sanitized_run.predictive Predictive.test_genes_that_files_lack)
set(sanitized_run.report Report.test_counts_in_the_plane Report.test_nothing_of_an_earlier_training)
set(sanitized_run.logs Logs.test_run_that_goes_on)
set(sanitized_run.progress Progress.test_narrow_and_stopped)
set(sanitized_run.sweep Sweeps.test_halving)
set(sanitized_run.same_cells SameCells.test_results_of_other_cells_go_beside)
set(sanitized_cuda_runs.devices Devices.test_auto_takes_the_gpu Devices.test_faults_of_the_libraries)
set(sanitized_io.bad_files -k index -k indptr -k lengths -k types -k shape -k missing_parts -k circles -k other_files
    -k declared -k truncated -k not_hdf5 -k missing_column -k out_of_range -k other_length -k dangling)
set(sanitized_io.cache Cache.test_rows_are_those_in_memory Cache.test_bad_values_are_named)
set(sanitized_io.embedding Embedding.test_every_kind_of_column Embedding.test_several_files Embedding.test_odd_names)
set(sanitized_io.fingerprint Fingerprint.test_other_cells)
set(sanitized_io.formats TenX.test_damage StoredByGenes.test_ranks_without_cells_or_counts StoredByGenes.test_bad_values StoredByGenes.test_damage
    Compressed.test_plugins)
set(sanitized_io.genes Genes.test_few_genes_and_cells)
set(sanitized_io.join Genes.test_shared_genes_in_the_order_of_the_first Genes.test_variable_genes_of_the_shared_ones
    GeneIds.test_a_symbol_for_two_genes Masks.test_a_list_that_files_lack_some_of Levels.test_levels_of_all_files)
set(sanitized_io.load Load.test_ranks_agree Load.test_stored_types Load.test_dense Load.test_unsorted_and_explicit_zeros
    Load.test_n_top_is_the_variance_of_logs Load.test_genes_from_a_file Load.test_kinds_of_covariates)
set(sanitized_io.round Round.test_the_same_counts_by_every_way)
set(sanitized_io.stream Stream.test_rows_are_those_in_memory Stream.test_stored_zeros Stream.test_what_cannot_be_streamed)
set(sanitized_io.synth Synth.test_compression_changes_the_storage_only Synth.test_config_file)
set(sanitized_io.tables MuData.test_matrices MuData.test_damaged_map Indices.test_every_encoding Anndata07.test_layout)
