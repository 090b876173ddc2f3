# What takes long starts first, also where no run before has left its times: seconds in the release build.
set(costs
  model.reference 130 cuda_runs.devices 120 bundle.bundle 100 run.ranks 70 io.bad_files 80 run.stream 60 run.changes 25 run.families 25 io.formats 70
  io.embedding 70 run.resume 60 run.damaged 60 io.tables 60 run.cache 60 io.stream 60 io.cache 55 io.synth 55 run.numeric 50
  io.load 45 io.join 40 cuda.spills 40 io.many_files 35 io.genes 30 run.split 25 bundle.nvidia 25 run.signals 25 cli.cli 25
  run.folder 20 model.objectives 20 run.same_cells 18 model.recover 20 run.join 15 unit.sampler 12 fuzz.files 12
  ops.head_likelihood 10 cuda_ops.head_likelihood.scattered 30 cuda_ops.head_likelihood.forward 20
  cuda_ops.head_likelihood.reverse 20 cuda_ops.mixture.scattered 12 cuda_ops.input_rounded.scattered 12)
get_property(entries DIRECTORY PROPERTY TESTS)
while(costs)
  list(POP_FRONT costs name cost)
  if(name IN_LIST entries)
    set_tests_properties(${name} PROPERTIES COST ${cost})
  endif()
endwhile()
