# What takes long starts first, also where no run before has left its times: seconds in the release build.
set(costs
  cuda_runs.devices 140 io.bad_files 100 bundle.bundle 100 run.resume 90 run.cache 90 io.stream 90 io.formats 85 io.cache 80
  run.stream 75 run.numeric 60 io.tables 60 run.damaged 60 io.join 50 io.load 50 run.ranks 50 io.synth 50 io.embedding 45
  io.many_files 45 run.families 40 cuda.spills 40 io.genes 35 run.split 35 bundle.nvidia 30 run.signals 30 run.join 25
  run.clusters 35 run.report 45 run.predictive 28 run.sweep 20 run.expression 20 run.progress 20 run.folder 20 cli.cli 20 run.same_cells 20 run.metrics 20 model.log_p 8 model.objectives 15 run.changes 15 model.recover 15 fuzz.files 12 run.limits 12
  unit.sampler 12 io.fingerprint 10 model.reference 8
  ops.head_likelihood 10 cuda_ops.head_likelihood.scattered 30 cuda_ops.head_likelihood.forward 20
  cuda_ops.head_likelihood.reverse 20 cuda_ops.mixture.scattered 12 cuda_ops.input_rounded.scattered 12)
get_property(entries DIRECTORY PROPERTY TESTS)
while(costs)
  list(POP_FRONT costs name cost)
  if(name IN_LIST entries)
    set_tests_properties(${name} PROPERTIES COST ${cost})
  endif()
endwhile()
